# What a switch does. In nix-darwin's phase of checks, before anything changes, it asks whether the network could be
# started; the files are put in place before the launchd step, so that the daemon finds its program, and the network is
# brought up after every other step. Nothing here runs at boot; the daemon does that.
{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;

  label = "org.nix-volumes.networking";
  manager = "${cfg.base}/networking/manage-macos-networking.sh";

  # The receipt is how a later switch knows where an earlier one installed.
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

  # nix-darwin's own checks end with 2.
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

    # After launchd's step: the daemon is gone by then.
    (lib.mkIf (!cfg.enable) {
      system.checks.text = lib.mkAfter (check [ "check-remove" ]);
      system.activationScripts.postActivation.text = lib.mkAfter (activate [ "remove" ]);
    })
  ];
}
