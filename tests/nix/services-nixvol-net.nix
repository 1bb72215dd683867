# In the form of nix-darwin's own tests: what a built system has of this module.
{ config, ... }:
{
  services.nixvol-net.enable = true;
  services.nixvol-net.preset = "multi-cloud";

  test = ''
    echo >&2 "checking the launchd job"
    grep "org.nix-volumes.networking" ${config.out}/Library/LaunchDaemons/org.nix-volumes.networking.plist
    grep "/opt/nix-volumes/networking/manage-macos-networking.sh" ${config.out}/Library/LaunchDaemons/org.nix-volumes.networking.plist
    grep "reconcile" ${config.out}/Library/LaunchDaemons/org.nix-volumes.networking.plist

    echo >&2 "checking /activate"
    grep "org.nix-volumes.networking.receipt check /nix/store/" ${config.out}/activate
    grep "org.nix-volumes.networking.receipt install /nix/store/" ${config.out}/activate
    grep "/opt/nix-volumes/networking/manage-macos-networking.sh start --switch" ${config.out}/activate

    echo >&2 "checking the program"
    ${config.out}/sw/bin/nixvol-net --version
  '';
}
