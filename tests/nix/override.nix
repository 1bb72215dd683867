# A user's module on top of the preset, spread over the wrappers of the module system.
{ lib, ... }:
{
  services.nixvol-net = lib.mkMerge [
    {
      enable = true;
      preset = "multi-cloud";
      hosts.enable = false;
      volumes.etcd-1.address = "10.9.1.7";
      volumes.etcd-3.enable = false;
      providers.ibm.enable = false;
    }
    (lib.mkIf true {
      providers.aws.network = lib.mkForce "10.9.0.0/16";
      providers.azure = lib.mkIf false { network = "10.66.0.0/16"; };
      volumes = lib.genAttrs [ "etcd-9" ] (_name: {
        provider = "gcp";
        address = "10.2.9.2";
      });
    })
    {
      links = [
        {
          from = [ "aws" ];
          to = [ "azure" ];
        }
        (lib.mkIf false { from = [ "nobody" ]; })
        (lib.mkIf true {
          from = [ "etcd-1" ];
          to = [ "gcp" ];
          protocol = "tcp";
          ports = [ 443 ];
        })
      ];
    }
  ];
}
