# What a switch runs, for the embedded topology with a few settings: the activation of nix-darwin itself where its source is
# given, and otherwise its order of steps with our own text in their places.
{
  settings,
  nixDarwin ? null,
  nixpkgsLib ? null,
}:
let
  lib = import ./lib;

  given = {
    preset = "multi-cloud";
  }
  // lib.optionalAttrs (settings != null) settings;

  real =
    (import ./darwin.nix {
      inherit nixDarwin nixpkgsLib;
      imported = settings != null;
      modules = lib.optional (settings != null) { services.nixvol-net = given; };
    }).switch;

  pure = import ./pure.nix;

  cfg = {
    enable = false;
    confirmWithin = null;
    base = "/opt/nix-volumes";
    stateDir = "/var/db/nix-volumes-networking";
    logFile = "/var/log/nix-volumes-networking.log";
    anchor = "com.apple/250.nixvol";
    hosts.enable = true;
    bundle = "${builtins.toFile "nixvol-net-bundle" (builtins.toJSON input)}";
  }
  // removeAttrs given [
    "preset"
    "volumes"
  ];

  input = pure.preset // {
    volumes = pure.preset.volumes // given.volumes or { };
  };

  # The definitions of the module, conditions resolved; the text of a step is that of all definitions, in order.
  parts =
    if settings == null then
      [ ]
    else
      map (part: part.content) (
        lib.filter (part: part.condition)
          (import ../../modules/activate.nix {
            inherit lib;
            config.services.nixvol-net = cfg;
          }).config.contents
      );
  textOf = find: lib.concatMap (part: lib.optional (find part != null) (find part)) parts;
  step =
    name: find:
    builtins.concatStringsSep "\n" (
      map (text: text.content or text) (textOf (part: if find part ? ${name} then (find part).${name}.text else null))
    );
  activation = name: step name (part: part.system.activationScripts or { });
  daemons = lib.mergeAttrsList (
    map (part: builtins.mapAttrs (_name: daemon: daemon.source) (part.environment.launchDaemons or { })) parts
  );
  launchd = "${builtins.toFile "launchd" (builtins.toJSON daemons)}";

  standIn = {
    inherit launchd daemons;
    input = if settings == null then null else input;
    bundle = if settings == null then null else cfg.bundle;
    script = ''
      set -e
      set -o pipefail
      PATH=/usr/bin:/bin:/usr/sbin:/sbin
      systemConfig=@out@
      umask 0022

      ${step "checks" (part: part.system or { })}
      if [[ "''${checkActivation:-0}" -eq 1 ]]; then exit 0; fi

      ${activation "extraActivation"}

      for plist in ${launchd}/Library/LaunchDaemons/*; do
        [[ -e $plist ]] || break
        name=''${plist##*/}
        if ! diff "$plist" "/Library/LaunchDaemons/$name" >/dev/null 2>&1; then
          if [[ -f /Library/LaunchDaemons/$name ]]; then launchctl unload "/Library/LaunchDaemons/$name" || true; fi
          cp -f "$plist" "/Library/LaunchDaemons/$name"
          launchctl load -w "/Library/LaunchDaemons/$name"
        fi
      done
      for plist in /run/current-system/Library/LaunchDaemons/*; do
        [[ -e $plist ]] || break
        name=''${plist##*/}
        if [[ ! -e ${launchd}/Library/LaunchDaemons/$name ]]; then
          launchctl unload "/Library/LaunchDaemons/$name" || true
          rm -f "/Library/LaunchDaemons/$name"
        fi
      done

      ${activation "postActivation"}
      ln -sfn "$(readlink -f "$systemConfig")" /run/current-system
    '';
  };
in
if nixDarwin == null then standIn else real
