# The options under `services.nixvol-net`.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;

  described =
    description: type:
    type
    // {
      inherit description;
      descriptionClass = "noun";
    };

  octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
  ipv4 = "${octet}(\\.${octet}){3}";
  length = "(3[0-2]|[12]?[0-9])";

  # Values that end in lines of shell, launchd and newsyslog files: no character that means something there.
  word = "[A-Za-z0-9._+-]+";

  address = described "IPv4 address" (types.strMatching ipv4);
  network = described "IPv4 network, as in 10.0.0.0/16" (types.strMatching "${ipv4}/${length}");
  gateway = described "IPv4 address with a prefix length, as in 10.0.1.1/24" (
    types.strMatching "${ipv4}/${length}"
  );
  bridgeName = described "name of lower-case letters, digits and hyphens" (
    types.strMatching "[a-z0-9][a-z0-9-]*"
  );
  absolutePath = described "absolute path without spaces or signs" (types.strMatching "(/${word})+");
  mountPoint = described "absolute path without control characters" (
    types.strMatching "/[^[:cntrl:]]*"
  );
  port = described "port from 1 to 65535" (types.ints.between 1 65535);
  portRange = described "range of ports, as in \"2379-2380\"" (
    types.strMatching "[0-9]{1,5}-[0-9]{1,5}"
  );

  enablePart =
    what:
    mkOption {
      type = types.bool;
      default = true;
      example = false;
      description = ''
        Whether this ${what} takes part. Set it to false to leave out one that a preset or another module declares.
      '';
    };

  provider =
    { name, ... }:
    {
      options = {
        enable = enablePart "provider, with its volumes,";

        network = mkOption {
          type = network;
          example = "10.0.0.0/16";
          description = ''
            The network of this provider. Every one of its volumes has its address in it, and no other provider's
            network may overlap it.
          '';
        };

        gateway = mkOption {
          type = gateway;
          example = "10.0.1.1/24";
          description = ''
            The address that the Mac has on the bridge of this provider, with the prefix length that it has there.
            The prefix may be longer than that of the network: the whole network is routed to the bridge anyway.
          '';
        };

        bridge = mkOption {
          type = bridgeName;
          default = "bridge-${name}";
          defaultText = lib.literalExpression ''"bridge-''${name}"'';
          example = "bridge-do";
          description = ''
            The logical name of the bridge of this provider. macOS numbers its bridges; status and logs show the
            number beside this name.
          '';
        };

        attachment = mkOption {
          type = types.enum [
            "bridge"
            "vmnet"
          ];
          default = "bridge";
          example = "vmnet";
          description = ''
            Who makes the bridge. With `bridge` the manager does. With `vmnet` a virtual machine's vmnet network
            does, and the manager finds it by its gateway address.
          '';
        };

        internet = mkOption {
          type = types.bool;
          default = true;
          example = false;
          description = ''
            Whether the volumes of this provider reach the world outside, through address translation.
          '';
        };
      };
    };

  volume = {
    options = {
      enable = enablePart "volume";

      provider = mkOption {
        type = types.str;
        example = "aws";
        description = ''
          The provider that this volume belongs to: the name of an entry of {option}`services.nixvol-net.providers`.
        '';
      };

      address = mkOption {
        type = address;
        example = "10.0.1.2";
        description = ''
          The address of this volume, in the network of its provider.
        '';
      };

      localhost = mkOption {
        type = types.nullOr address;
        default = null;
        example = "127.0.1.11";
        description = ''
          The loopback address under which the Mac itself finds this volume, in the range of
          {option}`services.nixvol-net.localhost.gateway`. Null gives it none.
        '';
      };

      attachment = mkOption {
        type = types.enum [
          "host"
          "guest"
        ];
        default = "host";
        example = "guest";
        description = ''
          Who answers at the address. With `host` it is a process on the Mac. With `guest` it is a virtual
          machine, and the Mac does not take the address.
        '';
      };

      publish = mkOption {
        type = types.listOf port;
        default = [ ];
        example = [ 2379 ];
        description = ''
          The TCP ports of this volume that answer on its loopback address too.
        '';
      };

      mountPoint = mkOption {
        type = types.nullOr mountPoint;
        default = null;
        example = "/opt/nix-volumes/etcd-1";
        description = ''
          Where this volume is mounted. Its addresses exist only while something is mounted there; with null they
          always do.
        '';
      };
    };
  };

  conditions = {
    options = {
      latencyMs = mkOption {
        type = types.nullOr (types.ints.between 0 10000);
        default = null;
        example = 40;
        description = ''
          The delay that is added to each packet, one way, in milliseconds. Only a bidirectional link slows the
          answers too.
        '';
      };

      loss = mkOption {
        type = types.nullOr (types.numbers.between 0 1);
        default = null;
        example = 0.01;
        description = ''
          The share of packets that are lost, from 0 to 1, in millionths.
        '';
      };

      bandwidthKbit = mkOption {
        type = types.nullOr (types.ints.between 1 2147483);
        default = null;
        example = 100000;
        description = ''
          The rate at which packets pass, in kilobits a second: one pipe for all that the link covers, each way.
        '';
      };
    };
  };

  localhost = {
    options = {
      bridge = mkOption {
        type = bridgeName;
        default = "bridge-localhost";
        example = "bridge-lo";
        description = ''
          The logical name of the group. It is a name only: the addresses are aliases of {file}`lo0`.
        '';
      };

      gateway = mkOption {
        type = gateway;
        default = "127.0.1.1/24";
        example = "127.0.2.1/24";
        description = ''
          The loopback address of the group itself, with the prefix length of the range from which volumes take
          theirs.
        '';
      };
    };
  };

  ends = types.nonEmptyListOf types.str;

  link = {
    options = {
      from = mkOption {
        type = ends;
        example = [ "aws" ];
        description = ''
          The providers and volumes that may open connections. A provider stands for all of its network.
        '';
      };

      to = mkOption {
        type = ends;
        example = [
          "azure"
          "etcd-3"
        ];
        description = ''
          The providers and volumes that they may reach.
        '';
      };

      protocol = mkOption {
        type = types.nullOr (
          types.enum [
            "tcp"
            "udp"
            "icmp"
          ]
        );
        default = null;
        example = "tcp";
        description = ''
          The protocol that is permitted. Null permits every protocol.
        '';
      };

      ports = mkOption {
        type = types.nullOr (types.nonEmptyListOf (types.either port portRange));
        default = null;
        example = [
          "2379-2380"
          6443
        ];
        description = ''
          The destination ports that are permitted, one by one or as ranges. Null permits every port.
        '';
      };

      bidirectional = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = ''
          Whether the ends in `to` may open connections to those in `from` too. Replies need no permission.
        '';
      };

      masquerade = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = ''
          Whether the traffic arrives with the gateway address of the receiving provider as its source, as it
          does between real clouds behind address translation.
        '';
      };

      conditions = mkOption {
        type = types.nullOr (types.submodule conditions);
        default = null;
        example = {
          latencyMs = 40;
          loss = 0.01;
        };
        description = ''
          What the way between the two ends is like, whatever the protocol and the port: dummynet pipes on the
          Mac. Those of a volume count before those of its provider. Null leaves it as fast as the Mac is.
        '';
      };
    };
  };
in
{
  options.services.nixvol-net = {
    enable = lib.mkEnableOption ''
      the declared network of volumes. Switching it off again takes the network down and removes every file of
      it, as long as this module stays imported for that one switch'';

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      example = lib.literalExpression "pkgs.nixvol-net";
      description = ''
        The generator that renders the network and proves it.
      '';
    };

    preset = mkOption {
      type = types.nullOr (types.enum [ "multi-cloud" ]);
      default = null;
      example = "multi-cloud";
      description = ''
        A network to start from. With `multi-cloud` it is five clouds with thirteen volumes of one Kubernetes
        cluster, every pair of clouds linked. All of its values are defaults, which a plain definition replaces.
        The links are one such value: a definition of {option}`services.nixvol-net.links` takes their place, and
        one that is wrapped in `lib.mkDefault` is added to them.
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
        The mounted volumes that take part, by name.
      '';
    };

    localhost = mkOption {
      type = types.submodule localhost;
      default = { };
      example = {
        gateway = "127.0.2.1/24";
      };
      description = ''
        The group of loopback addresses under which the Mac itself finds the volumes.
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
        What may pass from one provider to another. Whatever no link permits is blocked. The links of all modules
        add up; those of a preset give way to them.
      '';
    };

    allowOverlap = mkOption {
      type = types.listOf network;
      default = [ ];
      example = [ "10.0.0.0/8" ];
      description = ''
        Networks in which a provider's network may overlap one that the Mac already has, such as that of a VPN.
        Outside them the manager refuses to start when it finds an overlap.
      '';
    };

    anchor = mkOption {
      type = described "pf anchor that is a child of com.apple" (
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
        The directory in which the manager is installed, under {file}`networking`. It must belong to root, because
        root runs what lies there.
      '';
    };

    stateDir = mkOption {
      type = absolutePath;
      default = "/var/db/nix-volumes-networking";
      example = "/var/db/clouds";
      description = ''
        The directory in which the manager remembers what it made.
      '';
    };

    logFile = mkOption {
      type = absolutePath;
      default = "/var/log/nix-volumes-networking.log";
      example = "/var/log/clouds.log";
      description = ''
        The log of the manager. newsyslog rotates it.
      '';
    };

    reconcileInterval = mkOption {
      type = types.ints.between 10 86400;
      default = 120;
      example = 30;
      description = ''
        The number of seconds after which launchd has the manager look at the network again. It does so at boot, at
        mounts and when the network changes anyway, and a look that finds everything in place changes nothing.
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
        The number of seconds in which {command}`manage-macos-networking.sh confirm` must follow a switch; without
        it the Mac goes back to the network it had before. Null asks for no confirmation.
      '';
    };

    input = mkOption {
      type = types.attrsOf types.raw;
      readOnly = true;
      description = ''
        The declaration as the generator reads it, once written as JSON.
      '';
    };

    bundle = mkOption {
      type = types.package;
      readOnly = true;
      description = ''
        The rendered network. Its build fails when the declaration is wrong, or when the rules that were rendered
        do not do what it says.
      '';
    };
  };
}
