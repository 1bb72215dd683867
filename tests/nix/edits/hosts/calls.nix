# What a flake imports as its darwinConfigurations.
{ nix-darwin, ... }:
rec {
  studio = nix-darwin.lib.darwinSystem {
    modules = [ studio-network ];
  };
  studio-network = {
    services.nixvol-net = {
      providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
      volumes = { etcd-1 = { provider = "aws"; address = "10.0.1.2"; }; };
    };
  };
  mini = nix-darwin.lib.darwinSystem {
    modules = [
      {
        networking.hostName = "beside-${studio.config.networking.hostName}";
        services.nixvol-net = {
          providers.aws = { network = "10.2.0.0/16"; gateway = "10.2.1.1/24"; };
          volumes = { etcd-1 = { provider = "aws"; address = "10.2.1.2"; }; };
        };
      }
    ];
  };
}
