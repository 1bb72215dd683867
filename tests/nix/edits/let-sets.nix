{ config, lib, ... }:
let
  inherit (config) networking;
  mesh = [ "aws" "lab" ];
  clouds = rec {
    aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
    lab = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
  };
  # The volumes of this Mac.
  volumes = {
    etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
    # the second
    etcd-2 = { provider = "lab"; address = "10.1.1.2"; };
  };
  net = {
    inherit volumes;
    links = lib.mkBefore [
      { from = mesh; to = mesh; protocol = "icmp"; }
    ];
  };
in
{
  services.nixvol-net = {
    enable = true;
    providers = clouds;
    inherit (net) volumes links;
  };
}
