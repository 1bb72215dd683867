# The tunnel to the other Macs, by nix-darwin's own module for wg-quick.
#
# The routes are wg-quick's: the kernel removes them with the interface, and wg-quick adds them again on the next one,
# which may have another name. With `table = "off"` another program would have to notice both.
{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;
  this = cfg.macs.${cfg.mac};

  # A peer may only have sources that are its own: its providers' networks and its own address in the tunnel.
  peer = _name: mac: {
    inherit (mac) endpoint publicKey;
    allowedIPs = [
      "${mac.address}/32"
    ]
    ++ map (name: cfg.providers.${name}.network) (
      lib.filter (name: cfg.providers ? ${name}) (lib.naturalSort mac.providers)
    );
    persistentKeepalive = 25;
  };

  # A host that is none of the Macs is reported by the generator.
  isJoined = cfg.enable && lib.length (lib.attrNames cfg.macs) > 1 && cfg.mac != null && cfg.macs ? ${cfg.mac};
in
{
  config.networking.wg-quick.interfaces = lib.mkIf isJoined {
    nixvol = {
      address = [ "${this.address}/32" ];
      listenPort =
        if this.listenPort != null then
          this.listenPort
        else
          lib.toInt (lib.last (lib.splitString ":" this.endpoint));
      inherit (cfg) privateKeyFile;
      peers = lib.mapAttrsToList peer (removeAttrs cfg.macs [ cfg.mac ]);
    };
  };
}
