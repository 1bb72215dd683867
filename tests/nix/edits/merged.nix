{ config, lib, pkgs, ... }:

with lib;

let
  isWork = false;
in {
  options.services.nixvol-net.mine = mkOption { default = { }; };

  config = mkMerge [
    (mkIf pkgs.stdenv.isDarwin {
      services.nixvol-net = {
        enable = mkDefault true;
        providers = mkMerge [
          {
            aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
            lab = { network = "10.1.0.0/16"; gateway = "10.1.0.1/16"; };
          }
        ];
        volumes = mkIf true {
            etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
            etcd-2 = { provider = "lab"; address = "10.1.1.2"; };
        };
        links = mkBefore [
          { from = [ "aws" ]; to = [ "lab" ]; protocol = "icmp"; }
        ];
      };
    })
    { homebrew.enable = true; }
  ];
}
