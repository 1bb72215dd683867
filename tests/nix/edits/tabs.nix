{ pkgs, ... }:
{
	services.nixvol-net = {
		enable = true;
		providers.aws = {
			network   = "10.0.0.0/16";
			gateway   = "10.0.1.1/24";
		};
		providers.lab = {
			network   = "10.1.0.0/16";
			gateway   = "10.1.0.1/16";
			internet  = false;
		};

		volumes.etcd-1 = {
			address   = "10.0.1.2";
			provider  = "aws";
			localhost = "127.0.1.11";
		};

		volumes.talos-1 = {
			address    = "10.1.1.2";
			provider   = "lab";
			attachment = "guest";
		};

		links = [ {
			from = [ "aws" ];
			to   = [ "lab" ];
		} ];
	};
}
