import ts from "typescript";
import { expect, test } from "vitest";

const ENTRIES = ["index", "playwright", "setup", "vitest"].map((name) => `src/${name}.ts`);

test("every exported thing, and every public member of one, has a TSDoc comment", () => {
  const program = ts.createProgram(ENTRIES, { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022 });
  const checker = program.getTypeChecker();
  const isDocumented = (symbol: ts.Symbol) => symbol.getDocumentationComment(checker).length > 0;
  const seen: string[] = [];
  const bare: string[] = [];

  for (const entry of ENTRIES) {
    const file = checker.getSymbolAtLocation(program.getSourceFile(entry)!)!;
    for (const exported of checker.getExportsOfModule(file)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      const declaration = symbol.declarations![0]!;
      if (declaration.getSourceFile().fileName.includes("node_modules")) continue; // Playwright's `expect`
      seen.push(symbol.name);
      if (!isDocumented(symbol)) bare.push(symbol.name);
      if (!ts.isClassDeclaration(declaration) && !ts.isInterfaceDeclaration(declaration)) continue;
      for (const member of declaration.members) {
        const name = member.name && checker.getSymbolAtLocation(member.name);
        const hidden = ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Override;
        if (name && !hidden && !ts.isPrivateIdentifier(member.name!) && !isDocumented(name)) {
          bare.push(`${symbol.name}.${name.name}`);
        }
      }
    }
  }
  expect(bare).toEqual([]);
  expect(seen).toEqual(expect.arrayContaining(["PisyncClient", "FleetClient", "Device", "PisyncServer", "test"]));
});
