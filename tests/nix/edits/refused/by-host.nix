{ config, lib, ... }:
{
  config = lib.mkMerge [
    { services.nixvol-net.providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; }; }
    (lib.mkIf (config.networking.hostName == "studio") {
      services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
    })
    (lib.mkIf (config.networking.hostName == "mini") {
      services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.0.1.3"; };
    })
  ];
}
