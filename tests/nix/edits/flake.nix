{
  description = "A Mac";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs = inputs@{ self, nix-darwin, nixpkgs, nixvol-net, ... }:
  let
    configuration = { pkgs, ... }: {
      nixpkgs.hostPlatform = "aarch64-darwin";
      programs.fish.enable = true;
    };
  in
  {
    darwinConfigurations."mac" = nix-darwin.lib.darwinSystem {
      modules = [
        configuration
        nixvol-net.darwinModules.default {
          services.nixvol-net = {
            enable = true;
            providers = {
              aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
              lab = { network = "10.1.0.0/16"; gateway = "10.1.0.1/16"; };
            };
            volumes = {
              "etcd-1" = { provider = "aws"; address = "10.0.1.2"; };
            };
          };
        }
      ];
    };
    darwinPackages = self.darwinConfigurations."mac".pkgs;
  };
}
