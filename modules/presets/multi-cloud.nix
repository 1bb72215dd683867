# The user's own topology: five clouds, thirteen volumes of one Kubernetes cluster, every pair of clouds linked.
#
# Each value has the priority of a default, so that a plain definition beside it wins. A provider or a volume is
# left out with `enable = false`; the link then joins the clouds that remain.
{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;
  isPresent = name: cfg.providers.${name}.enable or false;
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
        network = lib.mkDefault "10.0.0.0/16";
        gateway = lib.mkDefault "10.0.1.1/24";
        bridge = lib.mkDefault "bridge-aws";
      };

      azure = {
        network = lib.mkDefault "10.1.0.0/16";
        gateway = lib.mkDefault "10.1.1.1/24";
        bridge = lib.mkDefault "bridge-azure";
      };

      digitalocean = {
        network = lib.mkDefault "10.4.0.0/16";
        gateway = lib.mkDefault "10.4.1.1/24";
        bridge = lib.mkDefault "bridge-do";
      };

      gcp = {
        network = lib.mkDefault "10.2.0.0/16";
        gateway = lib.mkDefault "10.2.1.1/24";
        bridge = lib.mkDefault "bridge-gcp";
      };

      ibm = {
        network = lib.mkDefault "10.3.0.0/16";
        gateway = lib.mkDefault "10.3.1.1/24";
        bridge = lib.mkDefault "bridge-ibm";
      };
    };

    volumes = {
      etcd-1 = {
        provider = lib.mkDefault "aws";
        address = lib.mkDefault "10.0.1.2";
        localhost = lib.mkDefault "127.0.1.11";
      };

      etcd-2 = {
        provider = lib.mkDefault "azure";
        address = lib.mkDefault "10.1.1.2";
        localhost = lib.mkDefault "127.0.1.12";
      };

      etcd-3 = {
        provider = lib.mkDefault "gcp";
        address = lib.mkDefault "10.2.1.2";
        localhost = lib.mkDefault "127.0.1.13";
      };

      karpenter-worker-1 = {
        provider = lib.mkDefault "aws";
        address = lib.mkDefault "10.0.3.2";
        localhost = lib.mkDefault "127.0.1.31";
      };

      karpenter-worker-2 = {
        provider = lib.mkDefault "azure";
        address = lib.mkDefault "10.1.3.2";
        localhost = lib.mkDefault "127.0.1.32";
      };

      karpenter-worker-3 = {
        provider = lib.mkDefault "gcp";
        address = lib.mkDefault "10.2.3.2";
        localhost = lib.mkDefault "127.0.1.33";
      };

      karpenter-worker-4 = {
        provider = lib.mkDefault "ibm";
        address = lib.mkDefault "10.3.2.2";
        localhost = lib.mkDefault "127.0.1.34";
      };

      karpenter-worker-5 = {
        provider = lib.mkDefault "digitalocean";
        address = lib.mkDefault "10.4.2.2";
        localhost = lib.mkDefault "127.0.1.35";
      };

      talos-control-plane-1 = {
        provider = lib.mkDefault "aws";
        address = lib.mkDefault "10.0.2.2";
        localhost = lib.mkDefault "127.0.1.21";
      };

      talos-control-plane-2 = {
        provider = lib.mkDefault "azure";
        address = lib.mkDefault "10.1.2.2";
        localhost = lib.mkDefault "127.0.1.22";
      };

      talos-control-plane-3 = {
        provider = lib.mkDefault "gcp";
        address = lib.mkDefault "10.2.2.2";
        localhost = lib.mkDefault "127.0.1.23";
      };

      talos-control-plane-4 = {
        provider = lib.mkDefault "ibm";
        address = lib.mkDefault "10.3.1.2";
        localhost = lib.mkDefault "127.0.1.24";
      };

      talos-control-plane-5 = {
        provider = lib.mkDefault "digitalocean";
        address = lib.mkDefault "10.4.1.2";
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
