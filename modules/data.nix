# Converts the values of the options into the attribute set that becomes the generator's JSON input.
#
# It is pure and needs little of `lib`, so that it can be evaluated without the module system. Values that are
# null or equal to the generator's default are omitted: the JSON contains only what the user decided.
{ lib }:
cfg:
let
  # The generator's defaults, as far as they are not null. Of an entry all options but `enable` are fields of the JSON;
  # of the module's own options only those of `places` are, and what the end of this file adds.
  places = {
    base = "/opt/nix-volumes";
    stateDir = "/var/db/nix-volumes-networking";
    logFile = "/var/log/nix-volumes-networking.log";
    anchor = "com.apple/250.nixvol";
    reconcileInterval = 120;
    allowOverlap = [ ];
  };

  provider = name: {
    bridge = "bridge-${name}";
    attachment = "bridge";
    internet = true;
  };

  volume = {
    attachment = "host";
    publish = [ ];
  };

  macs = builtins.mapAttrs (_name: said { }) (cfg.macs or { });

  localhost = {
    bridge = "bridge-localhost";
    gateway = "127.0.1.1/24";
  };

  link = {
    bidirectional = false;
    masquerade = false;
  };

  said =
    assumed:
    lib.filterAttrs (
      field: value: field != "enable" && value != null && !(assumed ? ${field} && value == assumed.${field})
    );

  isPresent = part: part.enable or true;
  saidIfAny = name: value: lib.optionalAttrs (value != { } && value != [ ]) { ${name} = value; };

  providers = lib.filterAttrs (_name: isPresent) cfg.providers;

  # Disabling a provider disables its volumes too. A volume whose provider is not declared is kept, so that the
  # generator reports it.
  volumes = lib.filterAttrs (
    _name: value: isPresent value && isPresent (cfg.providers.${value.provider} or { })
  ) cfg.volumes;

  # Replaces a nested part of an entry by its values that are not defaults; null if there are none.
  saidOf =
    field: value:
    value
    // lib.optionalAttrs (value.${field} or null != null) {
      ${field} =
        let
          kept = said { } value.${field};
        in
        if kept == { } then null else kept;
    };

  linkData = value: said link (saidOf "conditions" value);
  volumeData = _name: value: said volume (saidOf "guest" value);
in
{
  version = 1;
  providers = builtins.mapAttrs (name: said (provider name)) providers;
  volumes = builtins.mapAttrs volumeData volumes;
}
// said places (builtins.intersectAttrs places cfg)
// lib.optionalAttrs (!(cfg.hosts.enable or true)) { hostsFile = null; }
// saidIfAny "localhost" (said localhost (cfg.localhost or { }))
// saidIfAny "links" (map linkData (cfg.links or [ ]))
// lib.optionalAttrs (macs != { }) ({ inherit macs; } // saidIfAny "mac" (cfg.mac or { }))
// saidIfAny "expect" (map (said { }) (cfg.expect or [ ]))
