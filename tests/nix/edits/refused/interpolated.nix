{ lib, host, ... }:
{
  services.nixvol-net.providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
  services.nixvol-net.volumes."${host}-1" = { provider = "aws"; address = "10.0.1.2"; };
}
