{
  outputs = { nix-darwin, ... }: {
    darwinConfigurations.home = nix-darwin.lib.darwinSystem {
      modules = [
        {
          services.nixvol-net.preset = "multi-cloud";
          services.nixvol-net.volumes.a = { provider = "aws"; address = "10.0.8.2"; };
        }
      ];
    };
    darwinConfigurations.work = nix-darwin.lib.darwinSystem {
      modules = [
        {
          services.nixvol-net.preset = "multi-cloud";
          services.nixvol-net.volumes.b = { provider = "aws"; address = "10.0.8.3"; };
        }
      ];
    };
  };
}
