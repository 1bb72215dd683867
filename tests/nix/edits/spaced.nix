{
  services.nixvol-net = {

    providers = {

      aws = {
        network = "10.0.0.0/16";
        gateway = "10.0.1.1/24";
      };

      # A cloud at home.
      lab = {
        network = "10.1.0.0/16";
        gateway = "10.1.0.1/16";
      };
    };

    volumes = {

      etcd-1 = {
        provider = "aws";
        address = "10.0.1.2";
      };

      etcd-2 = {
        provider = "lab";
        address = "10.1.1.2";
      };

      talos-1 = {
        provider = "lab";
        address = "10.1.1.3";
      };

    };

    links = [

      { from = [ "aws" ]; to = [ "lab" ]; }

      { from = [ "lab" ]; to = [ "etcd-1" ]; protocol = "udp"; ports = [ 53 ]; }

    ];
  };
}
