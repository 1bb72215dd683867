{ ... }:
let
  cloud = rec {
    prefix = "10.7";
    network = "${prefix}.0.0/16";
  };
  first = "127.0.1.11";
in
{
  services = {
    nixvol-net = rec {
      enable = true;
      providers.aws = {
        inherit (cloud) ;
        network = "10.7.0.0/16";
        gateway = "10.7.1.1/24";
      };
      providers.lab = { network = "10.8.0.0/16"; gateway = "10.8.1.1/24"; };
      volumes."etcd-1" = {
        provider = "aws";
        address = "10.7.1.2";
        localhost = first;
      };
    };
    yabai.enable = true;
  };
}
