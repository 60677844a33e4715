// htm's file with Preact within it, as `htm/preact/standalone` exports it.
import type { VNode } from "preact";

export { Component, createContext, h, render } from "preact";
export {
  useCallback,
  useContext,
  useEffect,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from "preact/hooks";
export function html(strings: TemplateStringsArray, ...values: unknown[]): VNode;
