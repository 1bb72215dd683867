{ network, ... }:
{
  services.nixvol-net = {
    inherit (network) volumes;
    providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
  };
}
