{
  services.nixvol-net.providers = {
    aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
    lab = { network = "10.1.0.0/16"; gateway = "10.1.0.1/16"; };
  };
  services.nixvol-net.volumes = {
    a = { provider = "aws"; address = "10.0.1.2"; };
  };
  services.nixvol-net.links = [
    # a comment before
    { from = [ "aws" ];
      to = [ "lab" ]; }   # and one behind
    # and a last one
  ];
}
