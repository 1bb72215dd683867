{
  services.nixvol-net = import ./network.nix;
}
