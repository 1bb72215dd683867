# Nested sets, formatted by nixfmt, in an order of its own.
{ config, pkgs, ... }:
{
  environment.systemPackages = [ pkgs.vim ];

  services.nixvol-net = {
    enable = true;

    # The clouds.
    providers = {
      hetzner = {
        network = "10.0.0.0/16";
        gateway = "10.0.1.1/24";
      };
      aws = {
        network = "10.1.0.0/16";
        gateway = "10.1.1.1/24";
        internet = false;
      };
    };

    volumes = {
      # etcd
      etcd-1 = {
        provider = "hetzner";
        address = "10.0.1.2";
        localhost = "127.0.1.11";
      };
      etcd-2 = {
        provider = "aws";
        address = "10.1.1.2";
        localhost = "127.0.1.12"; # not 2: taken by the other tool
        publish = [
          2379
          2380
        ];
      };

      # workers
      worker-1 = {
        provider = "aws";
        address = "10.1.2.2";
      };
      # the odd one
      arbiter = {
        provider = "hetzner";
        address = "10.0.9.2";
        mountPoint = "/Volumes/arbiter";
      };
    };

    links = [
      {
        from = [ "hetzner" ];
        to = [ "aws" ];
        protocol = "tcp";
        ports = [
          "2379-2380"
          6443
        ];
      }
      # and back
      {
        from = [ "aws" ];
        to = [ "etcd-1" ];
      }
    ];
  };

  system.stateVersion = 6;
}
