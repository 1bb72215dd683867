{
  outputs = { self, nix-darwin, nixpkgs, nixvol-net, ... }:
    {
      darwinConfigurations.studio = nix-darwin.lib.darwinSystem {
        modules = [
          nixvol-net.darwinModules.default
          {
            services.nixvol-net = {
              enable = true;
              providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
              providers.gcp = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
              volumes = {
                etcd-1 = { provider = "aws"; address = "10.0.1.2"; }; # ours
              };
              links = [ { from = [ "etcd-1" ]; to = [ "gcp" ]; } ];
            };
          }
        ];
      };
      darwinConfigurations.mini = nix-darwin.lib.darwinSystem {
        modules = [
          {
            services.nixvol-net.providers.aws = { network = "10.7.0.0/16"; gateway = "10.7.1.1/24"; };
            services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.7.1.2"; };
          }
        ];
      };
    };
}
