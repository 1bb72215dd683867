{ inputs, config, ... }:
{
  flake.modules.darwin.studio-network = {
    services.nixvol-net = {
      enable = true;
      providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
      volumes.etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
    };
  };

  flake.modules.darwin.mini-network = { pkgs, ... }: {
    services.nixvol-net = {
      enable = true;
      providers.aws = { network = "10.5.0.0/16"; gateway = "10.5.1.1/24"; };
      volumes.etcd-1 = { provider = "aws"; address = "10.5.1.2"; };
    };
  };

  flake.darwinConfigurations.studio = inputs.nix-darwin.lib.darwinSystem {
    modules = [ config.flake.modules.darwin.studio-network ];
  };
  flake.darwinConfigurations.mini = inputs.nix-darwin.lib.darwinSystem {
    modules = with config.flake.modules.darwin; [ mini-network ];
  };
}
