# What a switch does: the files are put in place before nix-darwin's launchd step, so that the daemon finds its
# program, and the network is brought up after every other step. Nothing here runs at boot; the daemon does that.
{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;

  label = "org.nix-volumes.networking";
  manager = "${cfg.base}/networking/manage-macos-networking.sh";

  # The receipt is how a later switch knows where an earlier one installed.
  activate = lib.escapeShellArgs [
    "/bin/sh"
    "${../templates/activation/activate.sh}"
    "/var/db/${label}.receipt"
  ];

  install = lib.escapeShellArgs [
    "install"
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
    ]
    ++ lib.optionals (cfg.confirmWithin != null) [
      "--confirm-within"
      (toString cfg.confirmWithin)
    ]
  );
in
{
  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      environment.launchDaemons."${label}.plist".source = "${cfg.bundle}/launchd/${label}.plist";
      system.activationScripts.extraActivation.text = "${activate} ${install}";
      system.activationScripts.postActivation.text = lib.mkAfter start;
    })

    # After launchd's step: the daemon is gone by then.
    (lib.mkIf (!cfg.enable) {
      system.activationScripts.postActivation.text = lib.mkAfter "${activate} remove";
    })
  ];
}
