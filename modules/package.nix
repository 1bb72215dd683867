# The package of the program. `withTests` adds the tests to the source and runs them.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  withTests ? false,
  testInputs ? [ ],
}:
let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = manifest.package.name;
  inherit (manifest.package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions (
      [
        ../Cargo.toml
        ../Cargo.lock
        ../generator
        ../templates
      ]
      ++ lib.optionals withTests [
        ../.rustfmt.toml
        ../.github
        ../CONTRIBUTING.md
        ../LICENSE
        (lib.fileset.maybeMissing ../README.md)
        ../flake.nix
        ../flake.lock
        ../modules
        ../tests
      ]
    );
  };

  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];

  doCheck = withTests;
  nativeCheckInputs = testInputs;

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    installShellCompletion --cmd nixvol-net \
      --bash <("$out/bin/nixvol-net" completions bash) \
      --fish <("$out/bin/nixvol-net" completions fish) \
      --zsh <("$out/bin/nixvol-net" completions zsh)
    "$out/bin/nixvol-net" man --out man
    installManPage man/*.1
  '';

  meta = {
    inherit (manifest.package) description;
    license = lib.licenses.mit;
    mainProgram = "nixvol-net";
    maintainers = [ ];
    platforms = lib.platforms.darwin ++ lib.platforms.linux;
  };
}
