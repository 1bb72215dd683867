{
  nixpkgs.hostPlatform = "aarch64-darwin";
  system.stateVersion = 6;

  services.nixvol-net = {
    enable = true;

    # Five clouds, thirteen volumes, every pair of clouds linked.
    preset = "multi-cloud";

    # Your definitions override the preset. One more volume:
    volumes.karpenter-worker-6 = {
      provider = "aws";
      address = "10.0.3.3";
      localhost = "127.0.1.36";
    };

    # etcd answers on its loopback address too:
    volumes.etcd-1.publish = [ 2379 ];
  };
}
