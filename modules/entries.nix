# The submodules of providers, volumes, links and expectations, and the types of their values.
{ lib }:
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

  # Values that are written into shell, launchd and newsyslog files: no characters that are special there.
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
  mac = described "MAC address, as in 52:54:00:12:34:56" (
    types.strMatching "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}"
  );
  interfaceName = described "name of an interface of Linux, as in enp0s1" (
    types.strMatching "[A-Za-z][A-Za-z0-9._-]{0,14}"
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
        Whether this ${what} is part of the network. Set it to false to leave out one that a preset or another module declares.
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
            The network of this provider. All of its volumes have their addresses in it, and no other provider's
            network may overlap it.
          '';
        };

        gateway = mkOption {
          type = gateway;
          example = "10.0.1.1/24";
          description = ''
            The Mac's address on the bridge of this provider, with its prefix length. The prefix may be longer
            than that of the network: the whole network is routed to the bridge in any case.
          '';
        };

        bridge = mkOption {
          # The default is taken whatever the name is: it is the name of the provider that is then reported.
          type = described bridgeName.description (types.either bridgeName (types.enum [ "bridge-${name}" ]));
          default = "bridge-${name}";
          defaultText = lib.literalExpression ''"bridge-''${name}"'';
          example = "bridge-do";
          description = ''
            The logical name of the bridge of this provider. macOS numbers its bridges; status and logs show
            both names.
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
            Who makes the bridge. With `bridge` the manager does. With `vmnet` the vmnet network of a virtual
            machine does, and the manager finds it by its gateway address.
          '';
        };

        internet = mkOption {
          type = types.bool;
          default = true;
          example = false;
          description = ''
            Whether the volumes of this provider may open connections to the outside, by NAT.
          '';
        };

        region = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "us-east-1";
          description = ''
            The region of AWS, Azure, Google Cloud, IBM Cloud or DigitalOcean that this provider stands for. Links whose
            `conditions.latency` is `"regions"` are as slow as packets between regions. Null names none.
          '';
        };
      };
    };

  oneMac = {
    options = {
      providers = mkOption {
        type = types.listOf types.str;
        example = [
          "aws"
          "azure"
        ];
        description = ''
          The names of the providers that are on this Mac. Every provider is on exactly one Mac.
        '';
      };

      endpoint = mkOption {
        type = types.str;
        example = "studio.local:51820";
        description = ''
          The host and UDP port at which the other Macs reach the WireGuard of this one.
        '';
      };

      publicKey = mkOption {
        type = types.str;
        example = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        description = ''
          The WireGuard public key of this Mac, as `wg pubkey` prints it.
        '';
      };

      address = mkOption {
        type = address;
        example = "100.127.0.1";
        description = ''
          The address of this Mac in the tunnel, outside the networks of all providers.
        '';
      };

      listenPort = mkOption {
        type = types.nullOr port;
        default = null;
        example = 51820;
        description = ''
          The UDP port on which WireGuard listens. Null means the port of the endpoint.
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
          The loopback address at which published ports of this volume answer, in the range
          of {option}`services.nixvol-net.localhost.gateway`. Null means none.
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
          What answers at the address: with `host` a process of the Mac; with `guest` a virtual machine,
          and the Mac does not take the address.
        '';
      };

      publish = mkOption {
        type = types.listOf port;
        default = [ ];
        # Several modules may publish the same port.
        apply = lib.unique;
        example = [ 2379 ];
        description = ''
          The TCP ports of this volume that also answer on its loopback address.
        '';
      };

      mountPoint = mkOption {
        type = types.nullOr mountPoint;
        default = null;
        example = "/opt/nix-volumes/etcd-1";
        description = ''
          The mount point of this volume. Its addresses exist only while something is mounted there; with null
          they always exist.
        '';
      };

      guest = {
        mac = mkOption {
          type = types.nullOr mac;
          default = null;
          example = "52:54:00:12:34:56";
          description = ''
            The MAC address of the virtual machine's interface in the provider's network. The files in `guests/NAME` of
            the bundle find the interface by it. With null they take the one of this name, or any `en*` and `eth*`.
          '';
        };

        interface = mkOption {
          type = types.nullOr interfaceName;
          default = null;
          example = "enp0s1";
          description = ''
            The name of that interface inside the virtual machine, for systems that do not find it by its MAC address
            (ifupdown) or where no MAC address is given.
          '';
        };

        dns = mkOption {
          type = types.nullOr (types.listOf address);
          default = null;
          example = [ "9.9.9.9" ];
          description = ''
            The name servers that the virtual machine asks. Null means the gateway where vmnet makes the bridge of the
            provider, for vmnet answers there, and none elsewhere.
          '';
        };
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
          The delay added to each packet of this direction, in milliseconds. Only a bidirectional link delays replies
          too.
        '';
      };

      latency = mkOption {
        type = types.nullOr (types.enum [ "regions" ]);
        default = null;
        example = "regions";
        description = ''
          With `"regions"` the delay follows from the regions of the two providers, instead of `latencyMs`: each pair of
          regions gets its own.
        '';
      };

      jitterMs = mkOption {
        type = types.nullOr (types.ints.between 0 10000);
        default = null;
        example = 5;
        description = ''
          The most that chance adds to the delay of each packet, in milliseconds. In the lab alone: the Mac's dummynet has
          no jitter.
        '';
      };

      loss = mkOption {
        type = types.nullOr (types.numbers.between 0 1);
        default = null;
        example = 0.01;
        description = ''
          The fraction of packets that are lost, from 0 to 1, with a resolution of one millionth.
        '';
      };

      bandwidthKbit = mkOption {
        type = types.nullOr (types.ints.between 1 2147483);
        default = null;
        example = 100000;
        description = ''
          The bandwidth in kilobits per second, shared by everything that the link covers, separately for each direction.
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
          The logical name of the group. There is no such bridge: the addresses are aliases of {file}`lo0`.
        '';
      };

      gateway = mkOption {
        type = gateway;
        default = "127.0.1.1/24";
        example = "127.0.2.1/24";
        description = ''
          The loopback address of the group itself, with the prefix length of the range that the volumes'
          loopback addresses belong to.
        '';
      };
    };
  };

  ends = types.nonEmptyListOf types.str;

  protocolOption =
    description:
    mkOption {
      type = types.nullOr (
        types.enum [
          "tcp"
          "udp"
          "icmp"
        ]
      );
      default = null;
      example = "tcp";
      inherit description;
    };

  portsOption =
    description:
    mkOption {
      type = types.nullOr (types.nonEmptyListOf (types.either port portRange));
      default = null;
      example = [
        "2379-2380"
        6443
      ];
      inherit description;
    };

  link = {
    options = {
      from = mkOption {
        type = ends;
        example = [ "aws" ];
        description = ''
          The providers and volumes that may open connections. A provider means its whole network.
        '';
      };

      to = mkOption {
        type = ends;
        example = [
          "azure"
          "etcd-3"
        ];
        description = ''
          The providers and volumes to which they may open connections.
        '';
      };

      protocol = protocolOption "The permitted protocol. Null permits every protocol.";

      ports = portsOption "The permitted destination ports, single or as ranges. Null permits every port.";

      bidirectional = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = ''
          Whether the endpoints in `to` may open connections to those in `from` too. Replies need no permission.
        '';
      };

      masquerade = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = ''
          Whether the traffic arrives with the gateway address of the receiving provider as its source, as
          between real clouds behind NAT.
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
          The latency, loss and bandwidth of the path between the endpoints, whatever the protocol and port,
          by dummynet pipes. Those of a volume take precedence over those of its provider. Null means none.
        '';
      };
    };
  };

  expectation = {
    options = {
      from = mkOption {
        type = ends;
        example = [ "karpenter-worker-1" ];
        description = ''
          The endpoints that open connections: providers, volumes, or `internet`, `lan`, `mac`, `localhost`, `any`.
        '';
      };

      to = mkOption {
        type = ends;
        example = [ "etcd-1" ];
        description = ''
          The endpoints that they reach, or must not reach: providers, volumes, or `internet`, `lan`, `mac`, `localhost`, `any`.
        '';
      };

      protocol = protocolOption "The protocol. Null means every protocol.";

      ports = portsOption "The destination ports, single or as ranges. Null means every port.";

      passes = mkOption {
        type = types.bool;
        example = false;
        description = ''
          True if all of these flows must get through, false if none may.
        '';
      };

      why = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "workers stay out of the peers of etcd";
        description = ''
          The reason, which is shown when the expectation fails.
        '';
      };
    };
  };
in
{
  inherit
    absolutePath
    described
    expectation
    link
    localhost
    network
    octet
    oneMac
    provider
    volume
    ;
}
