{
  outputs = { self, nix-darwin, nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;
      make = name: host: nix-darwin.lib.darwinSystem {
        modules = [ host.module { networking.hostName = name; } ];
      };
    in {
      darwinConfigurations = lib.mapAttrs make {
        studio.module = {
          services.nixvol-net.providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
          services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
        };
        mini.module = {
          services.nixvol-net.providers.aws = { network = "10.3.0.0/16"; gateway = "10.3.1.1/24"; };
          services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.3.1.2"; };
        };
      };
    };
}
