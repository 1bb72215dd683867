# The tunnel to the other Macs, by nix-darwin's own module for wg-quick.
#
# The routes are wg-quick's: the kernel removes them with the interface, and wg-quick adds them again on the next one,
# which may have another name. With `table = "off"` another program would have to notice both. wg-quick adds each route
# once, and does not notice that this failed: the manager adds what is missing.
{
  config,
  lib,
  pkgs,
  ...
}:
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

  # The port of an endpoint; null if it has none that could be one: then the bundle is refused, with the position.
  portOf =
    endpoint:
    let
      # Without leading zeros, which lib.toInt refuses and the generator does not.
      port = builtins.match "0*([1-9][0-9]{0,4})" (lib.last (lib.splitString ":" endpoint));
    in
    if port == null then null else lib.toInt (lib.head port);

  # wg-quick reads its configuration when it makes the tunnel, and nothing in launchd's job for it changes with the
  # configuration: without this a switch would leave the tunnel with old keys and networks. The copy is of what the
  # tunnel was made from, at this switch or at a start of the Mac since.
  conf = "/etc/wireguard/nixvol.conf";
  made = "/var/db/org.nix-volumes.networking.tunnel";
  restart = ''
    if [ -e ${made} ] && ! cmp -s ${conf} ${made} && [ -e /var/run/wireguard/nixvol.name ]; then
      echo "nixvol-net: the tunnel to the other Macs has a new configuration: restarting it" >&2
      PATH="${pkgs.wireguard-tools}/bin:$PATH" wg-quick down nixvol >&2 || :
      launchctl kickstart -k system/${config.launchd.labelPrefix}.wg-quick-nixvol ||
        echo "nixvol-net: warning: start the tunnel by hand: sudo wg-quick up nixvol" >&2
    fi
    cp -f ${conf} ${made}
  '';

  # A host that is none of the Macs is reported by the generator.
  isJoined = cfg.enable && lib.length (lib.attrNames cfg.macs) > 1 && cfg.mac != null && cfg.macs ? ${cfg.mac};
in
{
  config.system.activationScripts.postActivation.text = lib.mkMerge [
    (lib.mkIf isJoined restart)
    (lib.mkIf (!isJoined) "rm -f ${made}\n")
  ];
  config.networking.wg-quick.interfaces = lib.mkIf isJoined {
    nixvol = {
      address = [ "${this.address}/32" ];
      listenPort = if this.listenPort != null then this.listenPort else portOf this.endpoint;
      inherit (cfg) privateKeyFile;
      peers = lib.mapAttrsToList peer (removeAttrs cfg.macs [ cfg.mac ]);
    };
  };
}
