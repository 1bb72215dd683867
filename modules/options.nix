# The options under `services.nixvol-net`.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  entries = import ./entries.nix { inherit lib; };
  inherit (entries)
    absolutePath
    expectation
    link
    localhost
    network
    oneMac
    provider
    volume
    ;

  packages = {
    nixvol-net = pkgs.nixvol-net or (pkgs.callPackage ./package.nix { });
  };
in
{
  options.services.nixvol-net = {
    enable = lib.mkEnableOption ''
      the declared network of volumes. Setting it to false again takes the network down and removes all its
      files, provided that this module stays imported for that switch'';

    package = lib.mkPackageOption packages "nixvol-net" {
      example = "nixvol-net";
      extraDescription = ''
        It renders and proves the network. Without this project's overlay it is built from the sources beside the
        module.
      '';
    };

    preset = mkOption {
      type = types.nullOr (types.enum [ "multi-cloud" ]);
      default = null;
      example = "multi-cloud";
      description = ''
        A network to start from. `multi-cloud` is five clouds with the thirteen volumes of one Kubernetes
        cluster, with every pair of clouds linked. All of its values are defaults, which a plain definition replaces. The list of links is one such value: a definition of {option}`services.nixvol-net.links` replaces it, and one that is wrapped in `lib.mkDefault` is added to it.
      '';
    };

    presetBase = mkOption {
      type = entries.described "network of 16 bits followed by four more, as in 172.20.0.0/16" (
        types.strMatching "${entries.octet}\\.(25[01]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.0\\.0/16"
      );
      default = "10.0.0.0/16";
      example = "172.20.0.0/16";
      description = ''
        The first network of the preset. Its providers have this one and the four that follow: networks, gateways and
        addresses move together. For Macs on which {file}`10.0.0.0/8` is in use, by a VPN for example.
      '';
    };

    providers = mkOption {
      type = types.attrsOf (types.submodule provider);
      default = { };
      example = {
        aws = {
          network = "10.0.0.0/16";
          gateway = "10.0.1.1/24";
        };
      };
      description = ''
        The clouds, by name. Each is a network of its own, and nothing passes from one to another unless
        {option}`services.nixvol-net.links` permits it.
      '';
    };

    volumes = mkOption {
      type = types.attrsOf (types.submodule volume);
      default = { };
      example = {
        etcd-1 = {
          provider = "aws";
          address = "10.0.1.2";
          localhost = "127.0.1.11";
          publish = [ 2379 ];
        };
      };
      description = ''
        The volumes, by name. Each is a host with an address.
      '';
    };

    localhost = mkOption {
      type = types.submodule localhost;
      default = { };
      example = {
        gateway = "127.0.2.1/24";
      };
      description = ''
        The loopback addresses at which published ports of the volumes answer.
      '';
    };

    links = mkOption {
      type = types.listOf (types.submodule link);
      default = [ ];
      example = [
        {
          from = [ "aws" ];
          to = [
            "azure"
            "etcd-3"
          ];
          protocol = "tcp";
          ports = [
            "2379-2380"
            6443
          ];
        }
      ];
      description = ''
        The flows that are permitted between providers. What no link permits is refused. Links of several modules are
        merged, and replace those of a preset.
      '';
    };

    macs = mkOption {
      type = types.attrsOf (types.submodule oneMac);
      default = { };
      example = {
        studio = {
          providers = [ "aws" ];
          endpoint = "studio.local:51820";
          publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
          address = "100.127.0.1";
        };
        mini = {
          providers = [ "gcp" ];
          endpoint = "mini.local:51820";
          publicKey = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
          address = "100.127.0.2";
        };
      };
      description = ''
        The Macs that share this declaration, by name; the same on all of them. WireGuard joins them: with more than one,
        {option}`networking.wg-quick.interfaces.nixvol` is set. Without any, this Mac has all providers.
      '';
    };

    mac = mkOption {
      type = types.nullOr types.str;
      default = if config.networking.hostName == null then null else lib.toLower config.networking.hostName;
      defaultText = lib.literalExpression "lib.toLower config.networking.hostName";
      example = "studio";
      description = ''
        The one of {option}`services.nixvol-net.macs` that this Mac is.
      '';
    };

    privateKeyFile = mkOption {
      type = absolutePath;
      default = "/etc/wireguard/nixvol.key";
      example = "/var/keys/nixvol";
      description = ''
        The file on this Mac that has the private key of its WireGuard. It is never in the store. Used only with
        {option}`services.nixvol-net.macs`.
      '';
    };

    expect = mkOption {
      type = types.listOf (types.submodule expectation);
      default = [ ];
      example = [
        {
          from = [ "karpenter-worker-1" ];
          to = [ "etcd-1" ];
          protocol = "tcp";
          ports = [ 2380 ];
          passes = false;
          why = "workers stay out of the peers of etcd";
        }
      ];
      description = ''
        The flows that must, or must never, get through, whatever the links say: a test of the policy. If the network
        violates one, its build fails, and the error shows a packet, the rule and the declaration that decide. Expectations of several modules are merged.
      '';
    };

    allowOverlap = mkOption {
      type = types.listOf network;
      default = [ ];
      example = [ "10.0.0.0/8" ];
      description = ''
        Address ranges in which a provider's network may overlap a network that the Mac already has, such as
        that of a VPN. Any other overlap is refused at start.
      '';
    };

    anchor = mkOption {
      type = entries.described "pf anchor that is a child of com.apple" (
        types.strMatching "com\\.apple/[A-Za-z0-9.-][A-Za-z0-9._-]*"
      );
      default = "com.apple/250.nixvol";
      example = "com.apple/300.clouds";
      description = ''
        The pf anchor that holds the rules. The main ruleset of macOS calls every child of `com.apple`.
      '';
    };

    base = mkOption {
      type = absolutePath;
      default = "/opt/nix-volumes";
      example = "/opt/clouds";
      description = ''
        The directory in which the manager is installed, in the subdirectory {file}`networking`. It must belong to
        root, because root runs the manager.
      '';
    };

    stateDir = mkOption {
      type = absolutePath;
      default = "/var/db/nix-volumes-networking";
      example = "/var/db/clouds";
      description = ''
        The directory in which the manager records what it created.
      '';
    };

    logFile = mkOption {
      type = absolutePath;
      default = "/var/log/nix-volumes-networking.log";
      example = "/var/log/clouds.log";
      description = ''
        The manager's log file. newsyslog rotates it.
      '';
    };

    reconcileInterval = mkOption {
      type = types.ints.between 10 86400;
      default = 120;
      example = 30;
      description = ''
        The interval in seconds at which launchd runs `reconcile`. It also runs at boot, at mounts and when the network
        changes. A run that finds nothing to repair changes nothing.
      '';
    };

    hosts.enable = mkOption {
      type = types.bool;
      default = true;
      example = false;
      description = ''
        Whether the names of the volumes are written into a marked block of {file}`/etc/hosts` while the network
        is up.
      '';
    };

    confirmWithin = mkOption {
      type = types.nullOr (types.ints.between 1 99999);
      default = null;
      example = 120;
      description = ''
        The number of seconds within which {command}`manage-macos-networking.sh confirm` must follow a switch;
        otherwise the previous network is restored. Null requires no confirmation.
      '';
    };

    input = mkOption {
      type = types.attrsOf types.raw;
      readOnly = true;
      description = ''
        The declaration as the generator reads it, after conversion to JSON.
      '';
    };

    bundle = mkOption {
      type = types.package;
      readOnly = true;
      description = ''
        The rendered network. Its build fails if the declaration is invalid, or if the rendered rules do not
        implement it.
      '';
    };
  };
}
