{ lib, ... }:
assert true; {
  services.nixvol-net.providers
    = { aws =
          { network = "10.0.0.0/16"
          ; gateway = "10.0.1.1/24"
          ;
          };
        lab =
          { network = "10.1.0.0/16"
          ; gateway = "10.1.0.1/16"
          ;
          };
      };
  services.nixvol-net.volumes = ({ a = { provider = "aws"; address = "10.0.1.2"; };
    b.provider = "lab"; b.address = "10.1.1.2"; c = { provider = "lab"; address = "10.1.1.3"; }; });
  services.nixvol-net.links = [ { from = [ "aws" ]; to = [ "lab" ]; } ] ++ lib.optionals true [ ];
  services.skhd.skhdConfig = ''
    alt - h : services.nixvol-net.volumes = {
      etcd-9 = { };
  '';
}
