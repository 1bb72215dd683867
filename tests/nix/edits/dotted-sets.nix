{ lib, pkgs, config, ... }:
let
  cfg = config.services.nixvol-net;
in
{
  imports = [ ./homebrew.nix ];

  services.nixvol-net.enable = true;
  services.nixvol-net.providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
  services.nixvol-net.providers.azure = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
  services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
  services.nixvol-net.volumes.etcd-10 = { provider = "azure"; address = "10.1.1.2"; localhost = "127.0.1.12"; };
  services.nixvol-net.links = [ { from = [ "aws" ]; to = [ "azure" ]; } ];
}
