{ config, ... }:
{
  services.nixvol-net.volumes =
    if config.networking.hostName == "work" then
      { a = { provider = "aws"; address = "10.0.8.2"; }; }
    else
      { };
}
