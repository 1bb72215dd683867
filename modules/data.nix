# Converts the values of the options into the attribute set that becomes the generator's JSON input.
#
# It is pure and needs little of `lib`, so that it can be evaluated without the module system. Values that are
# null or equal to the generator's default are omitted: the JSON contains only what the user decided.
{ lib }:
cfg:
let
  # The fields of each part with the generator's defaults; null means that there is no default.
  places = {
    base = "/opt/nix-volumes";
    stateDir = "/var/db/nix-volumes-networking";
    logFile = "/var/log/nix-volumes-networking.log";
    anchor = "com.apple/250.nixvol";
    reconcileInterval = 120;
    allowOverlap = [ ];
  };

  provider = name: {
    network = null;
    gateway = null;
    bridge = "bridge-${name}";
    attachment = "bridge";
    internet = true;
    region = null;
  };

  volume = {
    provider = null;
    address = null;
    localhost = null;
    attachment = "host";
    publish = [ ];
    mountPoint = null;
    guest = null;
  };

  guest = {
    mac = null;
    interface = null;
    dns = null;
  };

  # One of several Macs. The option of the private key is not part of the declaration.
  oneMac = {
    providers = null;
    endpoint = null;
    publicKey = null;
    address = null;
    listenPort = null;
  };

  macs = builtins.mapAttrs (_name: said oneMac) (cfg.macs or { });

  localhost = {
    bridge = "bridge-localhost";
    gateway = "127.0.1.1/24";
  };

  link = {
    from = null;
    to = null;
    protocol = null;
    ports = null;
    bidirectional = false;
    masquerade = false;
    conditions = null;
  };

  expectation = {
    from = null;
    to = null;
    protocol = null;
    ports = null;
    passes = null;
    why = null;
  };

  conditions = {
    latencyMs = null;
    latency = null;
    jitterMs = null;
    loss = null;
    bandwidthKbit = null;
  };

  said =
    assumed: values:
    lib.filterAttrs (field: value: value != null && value != assumed.${field}) (
      builtins.intersectAttrs assumed values
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
    field: assumed: value:
    value
    // lib.optionalAttrs (value.${field} or null != null) {
      ${field} =
        let
          kept = said assumed value.${field};
        in
        if kept == { } then null else kept;
    };

  linkData = value: said link (saidOf "conditions" conditions value);
  volumeData = _name: value: said volume (saidOf "guest" guest value);
in
{
  version = 1;
  providers = builtins.mapAttrs (name: said (provider name)) providers;
  volumes = builtins.mapAttrs volumeData volumes;
}
// said places cfg
// lib.optionalAttrs (!(cfg.hosts.enable or true)) { hostsFile = null; }
// saidIfAny "localhost" (said localhost (cfg.localhost or { }))
// saidIfAny "links" (map linkData (cfg.links or [ ]))
// lib.optionalAttrs (macs != { }) ({ inherit macs; } // saidIfAny "mac" (cfg.mac or { }))
// saidIfAny "expect" (map (said expectation) (cfg.expect or [ ]))
