# The preset, moved to other networks.
{
  services.nixvol-net = {
    enable = true;
    preset = "multi-cloud";
    presetBase = "172.20.0.0/16";

    volumes.etcd-1.publish = [ 2379 ];
  };
}
