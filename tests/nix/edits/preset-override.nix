{ lib, ... }:
{
  services.nixvol-net = {
    enable = true;
    preset = "multi-cloud";
    providers.ibm.enable = false;
    volumes.etcd-1.publish = [ 2379 ];
    volumes.etcd-3.enable = false;
    volumes.etcd-2 = {
      address = lib.mkForce "10.1.1.9";
    };
    links = lib.mkDefault [
      {
        from = [ "etcd-1" ];
        to = [ "gcp" ];
        masquerade = true;
      }
    ];
  };
}
