import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: ["error", "always", { null: "ignore" }],
      "max-len": ["error", { code: 110 }],
      "max-lines": ["error", 250],
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "error",
    },
  },
  {
    files: ["pisync/web/dashboard/**/*.js"],
    languageOptions: { globals: globals.browser },
  },
  {
    // Not a module: it uses what the script before it on the page defines.
    files: ["pisync/web/docs/*.js"],
    languageOptions: {
      sourceType: "script",
      globals: { ...globals.browser, SwaggerUIBundle: "readonly" },
    },
  },
];
