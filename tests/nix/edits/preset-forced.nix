{ lib, ... }:
let
  ibm = { enable = false; };
in
{
  services.nixvol-net = lib.mkMerge [
    (lib.mkDefault { preset = "multi-cloud"; })
    {
      enable = true;
      providers = { inherit ibm; };
      providers.aws = lib.mkForce { network = "10.9.0.0/16"; gateway = "10.9.1.1/24"; };
      volumes = lib.mkForce {
        only = { provider = "aws"; address = lib.mkDefault "10.9.1.2"; };
        other = lib.mkMerge [ { provider = "gcp"; } { address = "10.2.1.77"; } ];
      };
      links = lib.mkOverride 60 [ { from = [ "aws" ]; to = [ "only" "gcp" ]; } ];
    }
  ];
}
