{ ... }:

{
  # Everything by its full name, one line each.
  services.nixvol-net.enable = true;

  services.nixvol-net.providers.aws.network = "10.0.0.0/16";
  services.nixvol-net.providers.aws.gateway = "10.0.1.1/24";
  services.nixvol-net.providers.gcp.network = "10.2.0.0/16";
  services.nixvol-net.providers.gcp.gateway = "10.2.1.1/24";

  services.nixvol-net.volumes.etcd-1.provider = "aws";
  services.nixvol-net.volumes.etcd-1.address = "10.0.1.2";
  services.nixvol-net.volumes.etcd-2.provider = "gcp";
  services.nixvol-net.volumes.etcd-2.address = "10.2.1.2";
  services.nixvol-net.volumes.etcd-2.localhost = "127.0.1.12";

  # The rest of the Mac.
  services.nix-daemon.enable = true;
}
