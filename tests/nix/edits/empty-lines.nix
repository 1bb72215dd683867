{
  services.nixvol-net.providers = {

    aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };

    lab = { network = "10.1.0.0/16"; gateway = "10.1.0.1/16"; };

  };
  services.nixvol-net.volumes = {
  };
  services.nixvol-net.links = [
  ];
}
