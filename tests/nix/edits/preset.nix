{
  services.nixvol-net = {
    enable = true;
    preset = "multi-cloud";
  };
}
