# The user's own topology: five clouds, thirteen volumes of one Kubernetes cluster, every pair of clouds linked.
#
# Each value has the priority of a default, so that a plain definition overrides it. `enable = false` removes a provider
# or a volume; the link then joins the remaining clouds. `presetBase` moves all of the preset's networks.
{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;
  isPresent = name: cfg.providers.${name}.enable or false;

  # An address in one of the five networks: its first two octets are derived from `presetBase`.
  base = map builtins.fromJSON (builtins.match "([0-9]+)\\.([0-9]+)\\..*" cfg.presetBase);
  at =
    index: rest:
    lib.mkDefault "${toString (lib.head base)}.${toString (lib.elemAt base 1 + index)}.${rest}";

  clouds = lib.filter isPresent [
    "aws"
    "azure"
    "digitalocean"
    "gcp"
    "ibm"
  ];
in
{
  config.services.nixvol-net = lib.mkIf (cfg.preset == "multi-cloud") {
    providers = {
      aws = {
        network = at 0 "0.0/16";
        gateway = at 0 "1.1/24";
        bridge = lib.mkDefault "bridge-aws";
      };

      azure = {
        network = at 1 "0.0/16";
        gateway = at 1 "1.1/24";
        bridge = lib.mkDefault "bridge-azure";
      };

      digitalocean = {
        network = at 4 "0.0/16";
        gateway = at 4 "1.1/24";
        bridge = lib.mkDefault "bridge-do";
      };

      gcp = {
        network = at 2 "0.0/16";
        gateway = at 2 "1.1/24";
        bridge = lib.mkDefault "bridge-gcp";
      };

      ibm = {
        network = at 3 "0.0/16";
        gateway = at 3 "1.1/24";
        bridge = lib.mkDefault "bridge-ibm";
      };
    };

    volumes = {
      etcd-1 = {
        provider = lib.mkDefault "aws";
        address = at 0 "1.2";
        localhost = lib.mkDefault "127.0.1.11";
      };

      etcd-2 = {
        provider = lib.mkDefault "azure";
        address = at 1 "1.2";
        localhost = lib.mkDefault "127.0.1.12";
      };

      etcd-3 = {
        provider = lib.mkDefault "gcp";
        address = at 2 "1.2";
        localhost = lib.mkDefault "127.0.1.13";
      };

      karpenter-worker-1 = {
        provider = lib.mkDefault "aws";
        address = at 0 "3.2";
        localhost = lib.mkDefault "127.0.1.31";
      };

      karpenter-worker-2 = {
        provider = lib.mkDefault "azure";
        address = at 1 "3.2";
        localhost = lib.mkDefault "127.0.1.32";
      };

      karpenter-worker-3 = {
        provider = lib.mkDefault "gcp";
        address = at 2 "3.2";
        localhost = lib.mkDefault "127.0.1.33";
      };

      karpenter-worker-4 = {
        provider = lib.mkDefault "ibm";
        address = at 3 "2.2";
        localhost = lib.mkDefault "127.0.1.34";
      };

      karpenter-worker-5 = {
        provider = lib.mkDefault "digitalocean";
        address = at 4 "2.2";
        localhost = lib.mkDefault "127.0.1.35";
      };

      talos-control-plane-1 = {
        provider = lib.mkDefault "aws";
        address = at 0 "2.2";
        localhost = lib.mkDefault "127.0.1.21";
      };

      talos-control-plane-2 = {
        provider = lib.mkDefault "azure";
        address = at 1 "2.2";
        localhost = lib.mkDefault "127.0.1.22";
      };

      talos-control-plane-3 = {
        provider = lib.mkDefault "gcp";
        address = at 2 "2.2";
        localhost = lib.mkDefault "127.0.1.23";
      };

      talos-control-plane-4 = {
        provider = lib.mkDefault "ibm";
        address = at 3 "1.2";
        localhost = lib.mkDefault "127.0.1.24";
      };

      talos-control-plane-5 = {
        provider = lib.mkDefault "digitalocean";
        address = at 4 "1.2";
        localhost = lib.mkDefault "127.0.1.25";
      };
    };

    links = lib.mkDefault (
      lib.optional (lib.length clouds > 1) {
        from = clouds;
        to = clouds;
      }
    );
  };
}
