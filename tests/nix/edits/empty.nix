{ ... }: {
  services.nixvol-net = {
    enable = true;
    providers = {
      aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
      azure = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
    };
    volumes = { };
    links = [ ];
  };
}
