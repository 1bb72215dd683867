{
  description = "Two Macs, one network for both";

  outputs =
    inputs@{ self, nix-darwin, nixvol-net, ... }:
    let
      # Both Macs have these clouds.
      clouds = {
        aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
        gcp = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
      };
      network = {
        imports = [ nixvol-net.darwinModules.default ];
        services.nixvol-net = {
          enable = true;
          providers = clouds;
          volumes.etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
        };
      };
      mkMac = name: modules: nix-darwin.lib.darwinSystem {
        modules = [ network { networking.hostName = name; } ] ++ modules;
      };
    in
    {
      darwinConfigurations = {
        studio = mkMac "studio" [
          { services.nixvol-net.volumes.worker-1 = { provider = "gcp"; address = "10.1.1.2"; }; }
        ];
        "mini" = mkMac "mini" [
          { services.nixvol-net.volumes.worker-1 = { provider = "gcp"; address = "10.1.1.7"; }; }
        ];
      };
    };
}
