{
  outputs = { nix-darwin, ... }: {
    darwinConfigurations = builtins.listToAttrs (map (host: {
      inherit (host) name;
      value = nix-darwin.lib.darwinSystem { modules = [ host.module ]; };
    }) [
      {
        name = "studio";
        module.services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
      }
      {
        name = "mini";
        module.services.nixvol-net.volumes.etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
      }
    ]);
  };
}
