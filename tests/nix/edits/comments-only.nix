{
  services.nixvol-net = {
    providers = {
      /* the first */ aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; }; # in use
      /*
        the second
      */
      lab = { network = "10.1.0.0/16"; gateway = "10.1.0.1/16"; }; /* spare */
    };
    volumes = {
      # none yet
    };
    links = [
      # none yet
    ];
  };
}
