# A declaration that says something in every field, under `services.nixvol-net`.
{
  base = "/opt/volumes";
  stateDir = "/var/db/volumes";
  logFile = "/var/log/volumes.log";
  anchor = "com.apple/251.volumes";
  allowOverlap = [ "10.8.0.0/16" ];
  hosts.enable = false;

  providers = {
    aws = {
      network = "10.8.0.0/16";
      gateway = "10.8.1.1/24";
      internet = false;
    };
    azure = {
      network = "10.9.0.0/16";
      gateway = "10.9.0.1/16";
      attachment = "vmnet";
      bridge = "bridge-blue";
    };
    mothballed = {
      enable = false;
      network = "10.10.0.0/16";
      gateway = "10.10.0.1/16";
    };
  };

  volumes = {
    etcd-1 = {
      provider = "aws";
      address = "10.8.1.2";
      localhost = "127.0.2.11";
      publish = [
        2379
        2380
      ];
      mountPoint = "/Volumes/it's \"etcd\" \${one}; $(reboot) `reboot`";
    };
    talos-1 = {
      provider = "azure";
      address = "10.9.1.2";
      attachment = "guest";
    };
    spare = {
      enable = false;
      provider = "aws";
      address = "10.8.1.9";
    };
    stranded = {
      provider = "mothballed";
      address = "10.10.1.2";
    };
  };

  localhost = {
    bridge = "bridge-lo";
    gateway = "127.0.2.1/24";
  };

  links = [
    {
      from = [ "azure" ];
      to = [ "etcd-1" ];
      protocol = "tcp";
      ports = [
        "2379-2380"
        6443
      ];
      bidirectional = true;
      masquerade = true;
      conditions = {
        latencyMs = 40;
        loss = 0.5;
        bandwidthKbit = 100000;
      };
    }
    {
      from = [ "aws" ];
      to = [ "azure" ];
      protocol = "icmp";
    }
  ];

  reconcileInterval = 30;
}
