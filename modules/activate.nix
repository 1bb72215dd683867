# The activation steps of a switch. nix-darwin's checks, which run before anything changes, test whether the network can
# start. The files are installed before the launchd step, so that the daemon finds its program, and the network is
# started after all other steps. None of this runs at boot; the daemon starts the network then.
{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;

  label = "org.nix-volumes.networking";
  manager = "${cfg.base}/networking/manage-macos-networking.sh";

  # The receipt tells a later switch where an earlier one installed the files.
  activate =
    arguments:
    lib.escapeShellArgs (
      [
        "/bin/sh"
        "${../templates/activation/activate.sh}"
        "/var/db/${label}.receipt"
      ]
      ++ arguments
    );

  files = [
    "${cfg.bundle}"
    "/etc/newsyslog.d/nix-volumes.conf"
    cfg.base
    cfg.stateDir
    cfg.logFile
    (if cfg.hosts.enable then "/etc/hosts" else "")
    cfg.anchor
  ];

  start = lib.escapeShellArgs (
    [
      manager
      "start"
      "--switch"
    ]
    ++ lib.optionals (cfg.confirmWithin != null) [
      "--confirm-within"
      (toString cfg.confirmWithin)
    ]
  );

  # The exit code 2 is that of nix-darwin's own checks.
  check = arguments: "${activate arguments} || exit 2";
in
{
  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      environment.launchDaemons."${label}.plist".source = "${cfg.bundle}/launchd/${label}.plist";
      system.checks.text = lib.mkAfter (check ([ "check" ] ++ files));
      system.activationScripts.extraActivation.text = activate ([ "install" ] ++ files);
      system.activationScripts.postActivation.text = lib.mkAfter start;
    })

    # Remove after the launchd step, which unloads the daemon.
    (lib.mkIf (!cfg.enable) {
      system.checks.text = lib.mkAfter (check [ "check-remove" ]);
      system.activationScripts.postActivation.text = lib.mkAfter (activate [ "remove" ]);
    })
  ];
}
