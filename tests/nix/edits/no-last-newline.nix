{ services.nixvol-net.providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
  services.nixvol-net.providers.lab = { network = "10.1.0.0/16"; gateway = "10.1.0.1/16"; }; }