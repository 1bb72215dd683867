{ inputs, ... }:
{
  flake.modules.darwin.network =
    { lib, pkgs, ... }:
    {
      services.nixvol-net.preset = "multi-cloud";
      services.nixvol-net.volumes = {
        worker-1 = { provider = "aws"; address = "10.0.8.2"; localhost = null; };
        worker-2 = { provider = "gcp"; address = "10.2.8.2"; publish = [ ]; attachment = "guest"; };
      };
    };
}
