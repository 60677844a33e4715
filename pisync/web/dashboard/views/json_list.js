// A list that is edited as JSON, with examples to begin with.
/** @import { FieldErrors } from "../types.js" */
import { Field } from "../parts.js";
import { html } from "../preact.js";

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.text
 * @param {Record<string, object[]>} props.examples By name.
 * @param {string} [props.hint]
 * @param {string | string[]} [props.error]
 * @param {(text: string) => void} props.onChange
 */
export function JsonList({ label, text, examples, hint, error, onChange }) {
  return html`<p class="presets">
      ${Object.entries(examples).map(
        ([name, example]) => html`<button
          type="button"
          class="small outline secondary"
          onClick=${() => onChange(formatted(example))}
        >${name}</button>`,
      )}
    </p>
    <${Field}
      as="textarea"
      label=${label}
      hint=${hint}
      rows="4"
      class="mono"
      spellcheck=${false}
      value=${text}
      error=${parsed(text).error ?? error}
      onInput=${(/** @type {any} */ { target }) => onChange(target.value)}
    />`;
}

/** @param {object[]} list */
export const formatted = (list) =>
  list.length ? `[\n${list.map((item) => `  ${JSON.stringify(item)}`).join(",\n")}\n]` : "[]";

/**
 * Return the list that a text stands for, or why it stands for none.
 * @param {string} text
 * @returns {{ list: any[], error?: string }}
 */
export function parsed(text) {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? { list } : { list: [], error: "A list is needed." };
  } catch (failure) {
    return { list: [], error: /** @type {Error} */ (failure).message };
  }
}

/**
 * Return what is wrong with the items of a list, each with its place: "2.share: Must be …".
 * @param {FieldErrors} errors
 * @param {string} [list] The field that the list is; without it, the list is the whole body.
 */
export function errorsIn(errors, list = "") {
  const prefix = list && `${list}.`;
  const texts = Object.entries(errors)
    .filter(([field]) => field === list || field.startsWith(prefix))
    .map(([field, messages]) =>
      [field.slice(prefix.length), messages.join(" ")].filter(Boolean).join(": "),
    );
  return texts.length ? texts : undefined;
}
