{ lib, ... }:
{
  services.nixvol-net = {
    providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
    volumes = lib.genAttrs [ "etcd-1" "etcd-2" ] (name: {
      provider = "aws";
      address = (import ./addresses.nix).${name};
    });
  };
}
